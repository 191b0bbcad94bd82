/** Short ways to find and make elements. Text goes in as text, never as markup. */

/** The page's element with an id. */
export function find<Kind extends Element = HTMLElement>(id: string): Kind {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element with the id "${id}".`);
  return found as unknown as Kind;
}

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = "",
  ...content: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

export function makeButton(text: string, action: () => void): HTMLButtonElement {
  const button = make("button", "button", text);
  button.type = "button";
  button.addEventListener("click", action);
  return button;
}

/** Names and values as `<dt>` and `<dd>`. */
export function makeFacts(facts: readonly (readonly [name: string, value: string])[]): Node[] {
  return facts.flatMap(([name, value]) => {
    const definition = make("dd", "", value);
    // Payloads may be written from right to left.
    definition.dir = "auto";
    return [make("dt", "", name), definition];
  });
}
