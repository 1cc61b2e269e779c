
"use strict";
// Makes the table sortable and adds a filter. It reads the table's own cells, and writes only text.
(() => {
  const table = document.getElementById("all");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];

  // A number may need all 64 bits, so this compares digits: without leading zeros, the longer number is the larger.
  const byNumber = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
  const byText = new Intl.Collator(undefined, { numeric: true }).compare;

  // In some rows, the cell of the id also has a link to the picture.
  const text = (cell) => (cell.querySelector("bdi") || cell).textContent;

  const sort = (number, isDescending) => {
    const isNumber = heads[number].dataset.sort === "number";
    const compare = isNumber ? byNumber : byText;
    const keyed = rows.map((row, order) => {
      const cell = row.cells[number];
      return { row, order, key: isNumber ? cell.dataset.value : text(cell) };
    });
    keyed.sort((a, b) => (isDescending ? compare(b.key, a.key) : compare(a.key, b.key)) || a.order - b.order);
    const sorted = document.createDocumentFragment();
    for (const { row } of keyed) sorted.append(row);
    body.append(sorted);
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[number].setAttribute("aria-sort", isDescending ? "descending" : "ascending");
  };

  // The first click puts the largest or latest first, and texts from A to Z.
  const first = (number) => heads[number].dataset.sort === "number";

  heads.forEach((head, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const is = head.getAttribute("aria-sort");
      sort(number, is ? is === "ascending" : first(number));
    });
    head.replaceChildren(button);
  });

  const field = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filter = () => {
    const wanted = field.value.toLowerCase();
    let count = 0;
    rows.forEach((row, number) => {
      row.hidden = !texts[number].includes(wanted);
      if (!row.hidden) count += 1;
    });
    shown.textContent = wanted ? `${count} of ${rows.length}` : "";
  };
  field.addEventListener("input", filter);
  field.closest(".filter").hidden = false;

  // "#sort=size" sorts like a click, "#sort=-size" like a second click; a link to a row makes the row visible.
  const follow = () => {
    const target = location.hash.slice(1);
    const by = /^sort=(-?)([a-z]+)$/.exec(target);
    if (by) {
      const number = heads.findIndex((head) => head.dataset.key === by[2]);
      if (number >= 0) sort(number, first(number) !== (by[1] === "-"));
    } else if (target.startsWith("model-") && field.value) {
      field.value = "";
      filter();
      document.getElementById(target)?.scrollIntoView();
    }
  };
  window.addEventListener("hashchange", follow);
  follow();
})();
