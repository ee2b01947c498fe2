// Sorting of tables by a click, Enter or the space bar on a head; without it, everything is there and can be read.
for (const table of document.querySelectorAll("table[data-sorts]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const said = document.getElementById("sorted");
  heads.forEach((head, column) => {
    if (!("sort" in head.dataset)) return;
    const name = head.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const order = was ? (was === "ascending" ? "descending" : "ascending") : head.dataset.sort;
      const sign = order === "ascending" ? 1 : -1;
      const of = (row) => row.cells[column].dataset.order ?? row.cells[column].textContent.trim();
      const rows = [...body.rows];
      rows.sort((one, other) => {
        const [a, b] = [of(one), of(other)];
        // What is missing stays last, whichever way the others go.
        if (a === "" || b === "") return (a === "") - (b === "");
        const numbers = head.dataset.kind === "number";
        return sign * (numbers ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...rows);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      said.textContent = `Sorted by ${name}, ${order}.`;
    });
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
