// Keys that work anywhere in a view, except where somebody types or a dialog is open.

export type Keys = Record<string, (event: KeyboardEvent) => void>;

const TYPING = 'input, textarea, select, [contenteditable]';

export function handleKeys(event: KeyboardEvent, keys: Keys) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as Element | null;
  if (document.querySelector('dialog[open]')) return;
  if (target?.closest(TYPING) && !(target as HTMLElement).matches('input[type=range], input[type=checkbox]')) return;
  // A focused button keeps its own keys.
  if ((event.key === ' ' || event.key === 'Enter') && target?.closest('button, a, summary, [role=option]')) return;
  // A slider keeps the arrows; it answers them itself.
  if (target?.closest('[role=slider], [role=tab], [role=listbox]') && /^(Arrow|Home|End|Page)/.test(event.key)) return;
  const run = keys[event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key];
  if (!run) return;
  event.preventDefault();
  run(event);
}
