/** Tables that become lists of cards on narrow screens. */

import { make } from "../../../common/dom.js";

export interface Column<Row> {
  readonly name: string;
  readonly cell: (row: Row) => Node | string | readonly (Node | string)[];
  readonly kind?: "number" | "actions";
}

/** `caption`: for screen readers. `empty`: shown instead of a table without rows. `idOf`: marks each row. */
export function makeTable<Row>(
  caption: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  empty: string,
  idOf: (row: Row) => string,
): HTMLElement {
  if (rows.length === 0) return make("p", "empty", empty);
  // Roles, because narrow screens lay the cells out as blocks, which would take their meaning away.
  const head = withRole("row", make("tr", ""));
  for (const { name, kind } of columns) {
    const cell = withRole("columnheader", make("th", kind ?? "", kind === "actions" ? make("span", "unseen", name) : name));
    cell.setAttribute("scope", "col");
    head.append(cell);
  }
  const body = rows.map((row) => {
    const line = withRole("row", make("tr", ""));
    line.dataset["id"] = idOf(row);
    for (const { name, cell, kind } of columns) {
      const content = cell(row);
      const made = withRole("cell", make("td", kind ?? "", ...(Array.isArray(content) ? (content as (Node | string)[]) : [content as Node | string])));
      made.dataset["label"] = kind === "actions" ? "" : name;
      line.append(made);
    }
    return line;
  });
  const table = withRole("table", make("table", "", make("caption", "unseen", caption)));
  table.append(withRole("rowgroup", make("thead", "", head)), withRole("rowgroup", make("tbody", "", ...body)));
  return make("div", "table", table);
}

function withRole<Kind extends HTMLElement>(role: string, element: Kind): Kind {
  element.setAttribute("role", role);
  return element;
}
