// The chat widget. The agent is a script; the conversation lives on across the pages of a visit.
import { $, h, icon, store } from '/common/dom.js';
import { Rng } from '/common/rng.js';
import { Prose, cap } from '/common/words.js';

const seed = store.get('chat-seed', Math.floor(Math.random() * 1e9));
store.set('chat-seed', seed);
const rng = new Rng(`chat ${seed} ${store.get('chat', []).length}`);
const prose = new Prose(rng);
const agent = new Prose(`agent ${seed}`).person().split(' ')[0];

const OPEN = ['Hello, thank you for writing.', 'Good to hear from you.', 'Welcome to Lantern Help.'];
const ASK = ['Could you tell me which', 'May I ask for the', 'To look this up I need the'];
const CLOSE = ['Does that help?', 'Please tell me how that goes.', 'Is there anything else?', 'I keep this open until you are sure.'];

function answer(turn) {
  const parts = [];
  if (turn === 0) parts.push(`${rng.pick(OPEN)} My name is ${agent}.`);
  parts.push(`I see: ${prose.clause()}.`, prose.text(rng.int(160, 640)));
  if (rng.chance(0.35)) parts.push(`\n1. ${prose.sentence()}\n2. ${prose.sentence()}\n3. ${prose.sentence()}`);
  parts.push(rng.chance(0.3) ? `${rng.pick(ASK)} ${prose.phrase().replace(/^(the|your|a|every) /, '')} was?` : rng.pick(CLOSE));
  if (rng.chance(0.15)) parts.push(`Your ticket is LH-${rng.int(10000, 99999)}.`);
  return parts.join(' ');
}

function box() {
  const lines = h('div', { class: 'lines' });
  const area = h('textarea', { id: 'chat-text', placeholder: 'Write a message', 'aria-label': 'Message' });
  const draw = (m) => { lines.append(h('div', { class: `msg ${m.from}` }, m.text)); lines.scrollTop = lines.scrollHeight; };
  const say = (from, text) => {
    const m = { timestamp: Date.now(), from, text };
    store.set('chat', [...store.get('chat', []), m]);
    draw(m);
    dispatchEvent(new CustomEvent('chat-message', { detail: m }));
  };
  const reply = () => {
    const typing = h('div', { class: 'msg typing' }, h('i'), h('i'), h('i'));
    setTimeout(() => { lines.append(typing); lines.scrollTop = lines.scrollHeight; }, 500);
    const text = answer(store.get('chat', []).filter((m) => m.from === 'agent').length);
    setTimeout(() => { typing.remove(); say('agent', text); }, 1500 + text.length * 3);
  };
  const send = (e) => {
    e.preventDefault();
    const text = area.value.trim();
    if (!text) return;
    area.value = '';
    say('visitor', text);
    reply();
  };
  area.addEventListener('keydown', (e) => { if (e.key === 'Enter' && !e.shiftKey) send(e); });
  store.get('chat', []).forEach(draw);
  const el = h('section', { class: 'chat', 'aria-label': 'Chat' }, h('header', null, icon('chat', 24), h('div', null, h('b', null, `${cap(agent)} from Lantern`), h('div', { class: 'faint' }, 'answers within a minute'))), lines, h('form', { onsubmit: send }, area, h('button', { class: 'btn', id: 'chat-send' }, icon('arrow', 18))));
  return el;
}

export function chatWidget() {
  let el = null;
  const toggle = () => {
    if (el) { el.remove(); el = null; } else { el = box(); document.body.append(el); }
    store.set('chat-open', Boolean(el));
  };
  document.body.append(h('button', { class: 'btn chat-open', id: 'chat-open', onclick: toggle }, icon('chat'), 'Chat with us'));
  if (store.get('chat-open', false)) toggle();
  return $('#chat-open');
}
