"""How a posed drawing becomes pixels: one pure function a style."""
