// A heading sorts its table: numbers by their first number, dashes last; again, the other way round.
// Folded sections open for print.
"use strict";
(function () {
  function value(row, column) {
    var text = row.cells[column] ? row.cells[column].textContent.trim() : "";
    var number = parseFloat(text.replace(/^[<\s]+/, "").replace("∞", "Infinity"));
    return { text: text, number: isNaN(number) ? null : number };
  }
  function compare(a, b, numeric) {
    if (!numeric) return a.text.localeCompare(b.text);
    if (a.number === null || b.number === null) return 0;
    return a.number - b.number;
  }
  function sort(table, column, numeric, sign) {
    var body = table.tBodies[0], groups = [[]];
    Array.prototype.forEach.call(body.rows, function (row) {
      if (row.className === "group") groups.push([row]); else groups[groups.length - 1].push(row);
    });
    groups.forEach(function (rows) {
      var heading = rows.length && rows[0].className === "group" ? rows.shift() : null;
      if (heading) body.appendChild(heading);
      rows.map(function (row, place) { return { row: row, place: place, value: value(row, column) }; })
        .sort(function (a, b) {
          if (numeric && (a.value.number === null) !== (b.value.number === null)) return a.value.number === null ? 1 : -1;
          return sign * compare(a.value, b.value, numeric) || a.place - b.place;
        })
        .forEach(function (each) { body.appendChild(each.row); });
    });
  }
  Array.prototype.forEach.call(document.querySelectorAll("table"), function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (heading, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.title = "sort";
      while (heading.firstChild) button.appendChild(heading.firstChild);
      heading.appendChild(button);
      button.addEventListener("click", function () {
        var up = heading.getAttribute("aria-sort") !== "ascending";
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) { other.removeAttribute("aria-sort"); });
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, heading.className === "n", up ? 1 : -1);
      });
    });
  });
  window.addEventListener("beforeprint", function () {
    Array.prototype.forEach.call(document.querySelectorAll("details"), function (each) { each.open = true; });
  });
})();
