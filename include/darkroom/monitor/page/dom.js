// Elements, and lists of them that change no more than they must. No text of anybody becomes markup.

/** An element; `kind` is a tag, or `tag.class`. Children are nodes or texts. */
export function el(kind, attributes = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** An element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Write a text, if it is another. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute, if it is another. */
export function put(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

const lists = new WeakMap();

/**
 * Make a parent's children one per row, in their order: each keeps its element, and so its focus, by its key,
 * and is drawn again only when what is told of it has changed.
 */
export function list(parent, rows, key, make, draw) {
  const kept = lists.get(parent) ?? new Map();
  lists.set(parent, kept);
  const wanted = new Set(rows.map(key));
  for (const [name, one] of kept) {
    if (wanted.has(name)) continue;
    one.node.remove();
    kept.delete(name);
  }
  let place = parent.firstElementChild;
  for (const row of rows) {
    const name = key(row), told = JSON.stringify(row);
    const one = kept.get(name) ?? { node: make(row), told: "" };
    kept.set(name, one);
    if (one.told !== told) draw(one.node, row);
    one.told = told;
    if (one.node === place) place = place.nextElementSibling;
    else parent.insertBefore(one.node, place);
  }
}

/** A list of terms with their values: [[name, value], ...]; a value is a text. */
export function figures(node, rows) {
  list(node, rows, ([name]) => name, ([name]) => el("div", {}, el("dt", {}, name), el("dd")),
    (made, [, value]) => write(made.lastElementChild, value));
}

/** A row of cells: texts; the first one is the row's heading. */
export function cells(row, texts) {
  if (!row.cells.length) row.append(...texts.map((_, n) => el(n ? "td" : "th", n ? {} : { scope: "row" })));
  texts.forEach((text, n) => write(row.cells[n], text));
}
