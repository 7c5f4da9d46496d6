// What the scripted visitors type into private fields. All made up; none may ever appear in a recording.

export const CARDS = [
  '4999991234567899', '4999990072531846', '4999998817203355', '4999993360915724',
  '5199994408126637', '5199992790631158', '5199996154083922', '5199991827364505',
];
export const PASSWORDS = [
  'Vole#Harbour!7719', 'xK9$tallow-Rim42', 'Plinth!8831quay', 'oZ4~kestrel_Brine',
  'Mortar&Fennel-605', 'uP2%lantern.Groat', 'Sprocket=Heron38!', 'wJ6^cinder+Thrush',
];
export const KEYS = ['HBR-7Q2K-99XF-TRM4', 'HBR-1V8D-34PL-ZKW7', 'HBR-5N6C-80BH-QYD2'];

// Every spelling under which a secret could slip into a file.
export function spellings() {
  const grouped = CARDS.map((c) => c.replace(/(.{4})(?=.)/g, '$1 '));
  const dashed = CARDS.map((c) => c.replace(/(.{4})(?=.)/g, '$1-'));
  const escaped = PASSWORDS.map((p) => JSON.stringify(p).slice(1, -1));
  return [...new Set([...CARDS, ...grouped, ...dashed, ...PASSWORDS, ...escaped, ...KEYS])];
}
