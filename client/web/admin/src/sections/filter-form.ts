/** A form for filters: rows of field, comparison and value, and the JSON that they make, which can be edited too. */

import { make, makeButton } from "../../../common/dom.js";
import { makeField, makeInput, makeSelect } from "../parts/controls.js";
import { FILTER } from "../strings.js";
import { type Condition, conditionsOf, filterOf, OPERATORS, type Operator } from "./filter.js";
import { holdsLongNumber } from "./payload.js";

/** `applied`: the filter in force, as JSON text. `fields`: offered for completion. `apply`: takes JSON text, or nothing. */
export function makeFilterForm(
  applied: string | undefined,
  fields: readonly string[],
  apply: (filter: string | undefined) => void,
): HTMLElement {
  const raw = make("textarea", "mono");
  raw.rows = 2;
  raw.id = "filter-json";
  raw.spellcheck = false;
  const rows = make("div", "filter-rows");
  const suggestions = make("datalist", "", ...fields.map((field) => new Option(field)));
  suggestions.id = "filter-fields";
  const problem = make("p", "problem");
  problem.setAttribute("role", "alert");

  const write = (): void => {
    const filter = filterOf([...rows.children].map(readRow));
    raw.value = filter ? JSON.stringify(filter) : "";
    problem.textContent = holdsLongNumber(filter) ? FILTER.longNumber : "";
  };
  const addRow = (condition?: Condition): void => {
    rows.append(makeRow(condition, write, (row) => {
      row.remove();
      write();
    }));
  };
  const show = (text: string | undefined): void => {
    rows.replaceChildren();
    raw.value = text ?? "";
    const conditions = text ? rowsOf(text) : [];
    problem.textContent = "";
    for (const condition of conditions ?? []) addRow(condition);
    if (rows.children.length === 0 && conditions) addRow();
  };
  show(applied);
  // Edited by hand: rows that say something else must not stay.
  raw.addEventListener("change", () => show(raw.value.trim() || undefined));

  const form = make("form", "form filter", suggestions, rows);
  const submit = make("button", "button small primary", FILTER.apply);
  submit.id = "apply-filter";
  const add = smallButton(FILTER.add, () => addRow());
  const clear = smallButton(FILTER.clear, () => apply(undefined));
  const json = make("details", "", make("summary", "", FILTER.json), makeField(FILTER.jsonLabel, raw, FILTER.jsonHint));
  json.open = applied !== undefined && rowsOf(applied) === undefined;
  form.append(make("div", "row", submit, add, ...(applied ? [clear] : [])), json, problem);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = raw.value.trim();
    if (holdsLongNumber(filterOf([...rows.children].map(readRow)))) {
      problem.textContent = FILTER.longNumber;
      json.open = true;
      raw.focus();
      return;
    }
    if (text && parse(text) === undefined) {
      problem.textContent = FILTER.invalid;
      json.open = true;
      raw.focus();
      return;
    }
    apply(text || undefined);
  });
  return form;
}

function makeRow(condition: Condition | undefined, changed: () => void, remove: (row: HTMLElement) => void): HTMLElement {
  const field = makeInput("text", { list: "filter-fields", "aria-label": FILTER.field, placeholder: FILTER.field, autocapitalize: "off" });
  const operator = makeSelect(OPERATORS.map((each) => [each, FILTER.operators[each]]), condition?.operator ?? "eq");
  operator.setAttribute("aria-label", FILTER.operator);
  const value = makeInput("text", { "aria-label": FILTER.value, placeholder: FILTER.value, autocapitalize: "off" });
  field.value = condition?.field ?? "";
  value.value = condition?.value ?? "";
  const update = (): void => {
    value.hidden = operator.value === "exists" || operator.value === "lacks";
    value.placeholder = operator.value === "in" ? FILTER.values : FILTER.value;
  };
  update();
  const row = make("div", "filter-row", field, operator, value);
  row.append(smallButton(FILTER.remove, () => remove(row)));
  row.addEventListener("input", () => {
    update();
    changed();
  });
  return row;
}

function readRow(row: Element): Condition {
  const [field, value] = row.querySelectorAll("input");
  const operator = row.querySelector("select")?.value as Operator;
  return { field: field?.value ?? "", operator, value: value?.value ?? "" };
}

function smallButton(text: string, action: () => void): HTMLButtonElement {
  const button = makeButton(text, action);
  button.classList.add("small");
  return button;
}

/** The conditions that a filter is made of; undefined if rows cannot show it as it is. */
function rowsOf(text: string): Condition[] | undefined {
  const filter = parse(text);
  return holdsLongNumber(filter) ? undefined : conditionsOf(filter);
}

/** What a JSON text says; undefined if it is not JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
