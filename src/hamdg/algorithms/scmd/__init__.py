"""SCMD: selective cross-modality distillation, from a frozen CLIP into a student."""
