// Scrolls an element into sight within its own list. `scrollIntoView` would move the page around the list as well.

const MARGIN_PX = 12;

export function reveal(el: Element | null | undefined) {
  let box = el?.parentElement ?? null;
  while (box && !/auto|scroll/.test(getComputedStyle(box).overflowY)) box = box.parentElement;
  if (!el || !box) return;
  const [inner, outer] = [el.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top + MARGIN_PX) box.scrollTop -= outer.top + MARGIN_PX - inner.top;
  else if (inner.bottom > outer.bottom - MARGIN_PX) box.scrollTop += Math.min(inner.bottom - outer.bottom + MARGIN_PX, inner.top - outer.top - MARGIN_PX);
}
