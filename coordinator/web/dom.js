// Elements without markup: whatever a device says becomes text, never HTML.

import { printable } from "/web/format.js";

// el("a", { href, class, onclick }, "text", child, [more]) — null and false children are left out.
export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Rows that follow a list: a row is made once for each key and updated in place, so that focus, selection and
// scroll position stay where they are while the list moves.
export class Rows {
  #parent;
  #make; // (item) => { node, update(item) }
  #rows = new Map();

  constructor(parent, make) {
    this.#parent = parent;
    this.#make = make;
  }

  show(items, keyOf) {
    const wanted = new Set();
    let next = this.#parent.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      wanted.add(key);
      let row = this.#rows.get(key);
      if (!row) this.#rows.set(key, (row = this.#make(item)));
      row.update(item);
      if (row.node === next) next = next.nextElementSibling;
      else this.#parent.insertBefore(row.node, next);
    }
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      row.node.remove();
      this.#rows.delete(key);
    }
  }
}

let toastTimer = 0;

// A short word about what was just done, read aloud by screen readers.
export function toast(text, isError = false) {
  const box = document.getElementById("toast");
  box.textContent = printable(text);
  box.classList.toggle("error", isError);
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), isError ? 9000 : 4000);
}
