'use strict';
// Answers are a list of [row of the study, rating] in the order in which they were given; all else follows from it.
const study = JSON.parse(document.getElementById('study').textContent);
const at = (id) => document.getElementById(id);
const MIN_MS = 200; // a second tap or a bouncing key within this time is no answer to the next pair
let rater = '', order = [], answers = [], shownAt = 0;

const storage = (() => {
  try {
    localStorage.setItem('humalign-test', '1');
    localStorage.removeItem('humalign-test');
    return localStorage;
  } catch { return null; }
})();
const keyOf = (name) => `humalign-ratings/${study.id}/${name}`;

function keep(name, value) {
  try {
    if (value === null) storage?.removeItem(keyOf(name)); else storage?.setItem(keyOf(name), JSON.stringify(value));
  } catch { at('no-storage').hidden = false; }
}

function kept(name) {
  try { return JSON.parse(storage?.getItem(keyOf(name)) ?? 'null'); } catch { return null; }
}

// A random order of the pairs that depends on study and rater alone, so that a reload shows the same one.
function orderOf(name) {
  let state = 2166136261; // FNV-1a of the text
  for (const byte of new TextEncoder().encode(`${study.id}/${name}`)) state = Math.imul(state ^ byte, 16777619);
  const random = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const shuffled = study.rows.map((_, row) => row);
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  return shuffled;
}

function isWhole(saved) { // answers kept by this page, to the pairs in this rater's order
  return Array.isArray(saved) && saved.length <= order.length
    && saved.every((one, i) => Array.isArray(one) && one[0] === order[i] && one[1] >= 1 && one[1] <= 10);
}

function begin(name) {
  rater = name;
  order = orderOf(name);
  const saved = kept(`answers/${name}`);
  answers = isWhole(saved) ? saved : [];
  keep('rater', name);
  document.activeElement?.blur();
  show();
}

function show() {
  const part = !rater ? 'start' : answers.length < order.length ? 'trial' : 'end';
  for (const id of ['start', 'trial', 'end']) at(id).hidden = id !== part;
  for (const button of document.querySelectorAll('.undo')) button.disabled = answers.length === 0;
  shownAt = performance.now();
  if (part === 'start') at('rater').focus();
  if (part !== 'trial') return;
  const [a, b] = study.images[order[answers.length]];
  at('image-a').src = a;
  at('image-b').src = b;
  at('progress').value = answers.length;
  at('count').textContent = `${answers.length + 1} of ${order.length}`;
}

function answer(rating) {
  if (at('trial').hidden || performance.now() - shownAt < MIN_MS) return;
  answers.push([order[answers.length], rating]);
  keep(`answers/${rater}`, answers);
  mark(0);
  show();
}

function undo() {
  if (!rater || !answers.length) return;
  const [, rating] = answers.pop();
  keep(`answers/${rater}`, answers);
  show();
  mark(rating);
}

function mark(rating) { // the answer that was taken back
  for (const button of at('scale').children) button.classList.toggle('chosen', Number(button.dataset.rating) === rating);
}

function cell(value) {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

function table() { // rows in the order in which the pairs were shown
  const rows = answers.map(([row, rating]) => [...study.rows[row], rater, String(rating)]);
  return [study.columns, ...rows].map((row) => row.map(cell).join(',') + '\n').join('');
}

function download() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], { type: 'text/csv' }));
  link.download = `ratings-${rater.replace(/[^\p{L}\p{N}_-]+/gu, '_')}.csv`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

at('who').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = at('rater').value.trim();
  if (name) begin(name); else at('rater').value = '';
});
at('scale').addEventListener('click', (event) => {
  if (event.target.dataset.rating) answer(Number(event.target.dataset.rating));
});
for (const button of document.querySelectorAll('.undo')) button.addEventListener('click', undo);
at('download').addEventListener('click', download);
at('another').addEventListener('click', () => {
  rater = '';
  answers = [];
  at('rater').value = '';
  keep('rater', null);
  mark(0);
  show();
});
document.addEventListener('keydown', (event) => {
  if (!rater || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9]$/.test(event.key)) answer(Number(event.key) || 10);
  else if (event.key === 'Backspace') undo();
  else return;
  event.preventDefault();
});

at('no-storage').hidden = storage !== null;
const before = kept('rater');
if (typeof before === 'string' && before) begin(before); else show();
