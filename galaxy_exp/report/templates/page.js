// Makes each column header of the table of trials a button that sorts by it; the page says the same without this.
document.querySelectorAll(".trials table").forEach(table => {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, place) => {
    const cell = row.cells[place];
    const number = parseFloat(cell.dataset.key || cell.textContent.replace(/,/g, ""));
    return isNaN(number) ? cell.textContent : number;
  };
  heads.forEach((head, place) => {
    if (head.dataset.unsorted) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = row => typeof key(row, place) === "string";
      const order = (one, other) => {
        if (text(one) !== text(other)) return text(one) ? 1 : -1;
        const [a, b] = down ? [key(other, place), key(one, place)] : [key(one, place), key(other, place)];
        return a === b ? 0 : a > b ? 1 : -1;
      };
      body.append(...[...body.rows].sort(order));
    });
  });
});
