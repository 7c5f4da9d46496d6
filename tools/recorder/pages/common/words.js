// Word lists and the small grammar all texts of the demo sites are drawn from.
import { Rng } from './rng.js';

const list = (s) => s.trim().split(/\s+/);

export const ADJECTIVES = list(`
  quiet brisk amber copper woven hollow gentle sturdy narrow broad crisp mellow plain polished rugged silver
  slender smooth soft speckled steady tidy velvet warm weathered wide bright calm clever coastal compact cosy
  curved dapper deep durable early easy elegant evening faded fine flexible floating folded fresh frosted
  glossy golden graceful grand handy heavy hidden honest humble ivory keen layered light linen little lively
  lunar marbled matte misty modern neat nimble northern oaken olive open padded pale patient pearl portable
  practical proud pure quilted rapid regal robust rosy rounded rustic sandy scarlet serene sharp shaded simple
  sleek snug solid southern spare spring stone striped subtle sunny supple swift tall tender thick timber
  tranquil trusty upright useful violet vivid western wild winter woodland`);

export const MATERIALS = list(`
  ash bamboo beech birch brass bronze canvas cashmere cedar ceramic cherry chrome clay cork cotton denim elm
  enamel felt flax glass granite hemp iron jute leather maple marble merino mesh nickel nylon oak paper pewter
  pine plaster porcelain quartz rattan rubber sandstone satin sheepskin silk slate spruce steel suede tin
  titanium tweed walnut wicker willow wool zinc`);

export const THINGS = list(`
  backpack bench basket blanket bookend bottle bowl bracket bucket cabinet candle carafe chair clock coaster
  colander cushion desk divider drawer easel fan flask fork frame funnel grater griddle hamper hook jar jug
  kettle knife ladder lamp lantern ledge locker mat mirror mug napkin notebook organiser ottoman pan pendant
  pillow pitcher planter plate platter pot pouch rack rug satchel saucer scale shelf sieve skillet spoon
  stand stool strap table teapot tongs torch towel tray trivet trolley tumbler umbrella vase wallet whisk`);

export const NOUNS = list(`
  account address afternoon agreement amount answer archive area attempt autumn balance batch border branch
  bridge budget bundle button calendar campaign carrier category chance change channel chapter choice circle
  city colour column comfort command comment company concern contact corner counter country couple course
  cover credit customer cycle damage deadline decision delay delivery deposit depth design detail device
  difference discount distance district document door draft edge edition effect effort email engine entrance
  error evening event example exchange exit factor family feature field figure file filter finish floor folder
  form fraction friend garden glance group guest guide habit half hand harbour height history holiday hour
  house idea index inquiry invoice island item journey kitchen label language launch layer letter level limit
  line link list location lock machine mailbox manner margin market measure meeting member memory message
  method middle minute mistake moment month morning mountain neighbour network note notice number object offer
  office option orbit order outcome owner package page pair panel parcel part partner passage password path
  pattern payment people percent period permit person phone picture piece place plan platform point policy
  portion position postcode practice preview price printer problem process product profile profit project
  promise proof purpose quality quarter question queue range rate reader reason receipt record refund region
  release report request reserve result return review reward river road role room route rule sale sample scale
  schedule season seat second section security selection service session setting shade shape share ship shop
  signal silence size sketch solution sound source space square staff stage standard station status step stock
  store story street style subject summer supplier support surface surprise survey system target task team
  term test theme thread ticket time title tomorrow tool total touch town track trade traffic transfer travel
  treatment trend trial trip trouble turn type union update upgrade user value vehicle version view village
  visit voice volume voucher warehouse warning warranty water weather website week weekend weight window
  winner wish witness word work world yard year zone`);

export const VERBS = list(`
  accept adapt add adjust agree allow answer appear apply approve arrange arrive ask assemble attach avoid
  balance begin believe borrow break bring build cancel carry catch check choose clean clear click close
  collect combine compare complete confirm connect consider contain continue copy correct count cover create
  decide deliver depend describe design discover discuss display divide double download draw earn edit enjoy
  enter exchange expect explain explore extend finish fit fold follow forget gather handle happen help hold
  improve include increase inform invite join keep know launch lead learn leave lift limit listen load lower
  manage mark match measure mention merge mix move notice offer open order pack park pass pause pick place
  plan prefer prepare press prevent print protect prove provide publish pull raise reach read receive recover
  reduce refer refill refund remain remember remove renew repair repeat replace reply report request reset
  resolve rest return review rotate save search select send serve settle share shift show sign slide solve
  sort speak start stay stop store suggest supply support switch test thank touch trace travel trust turn
  update use verify visit wait walk warm wash watch weigh welcome wonder work wrap write`);

export const ADVERBS = list(`
  again almost already always apart better briefly calmly carefully clearly closely daily directly early
  easily evenly exactly fairly fast finally firmly first freely gently gladly hardly here indeed instead
  kindly later lightly likely mostly neatly never nearly now often once only openly partly perhaps plainly
  promptly properly quickly quietly rarely readily really roughly safely seldom simply slightly slowly
  smoothly softly soon steadily still strongly surely there together twice usually weekly well`);

export const LINKS = list('and but so while because although until before after since unless whereas');

export const GIVEN = list(`
  Ada Anouk Bruno Carla Dario Edda Elif Emil Farah Femke Greta Hana Hugo Ines Ivo Jonas Jule Kaito Karim Lena
  Lior Luca Maren Mika Milo Nadia Nils Nora Odile Omar Petra Quinn Rafa Rhea Sanne Silas Tamar Teo Ulla Vera
  Wanda Xenia Yara Yusuf Zora Zeno`);

export const FAMILY = list(`
  Abt Brandt Calder Dahl Eklund Farrow Grebe Hollis Iversen Jansky Keller Lindqvist Marlow Norling Okonjo Pruitt
  Quist Rautio Sorel Tamm Ulrich Varga Wexler Yilmaz Zoller Ashdown Birkett Corrigan Drummond Ellery`);

export const PLACES = list(`
  Aldermouth Brackenford Castleby Dunmere Elmstead Fairhaven Glenwick Harrowgate Ironbridge Juniper Kingsholm
  Larkfield Mossley Northbeck Oakhampton Pinewater Quarryton Ravensmoor Silverdale Thornbury Underhill Westbrook`);

export const COLOURS = list(`
  charcoal ivory moss rust sand navy plum teal clay fog ochre berry pine coral stone ink`);

export const cap = (s) => s.charAt(0).toUpperCase() + s.slice(1);

export class Prose {
  constructor(seed) {
    this.rng = seed instanceof Rng ? seed : new Rng(seed);
  }

  phrase() {
    const r = this.rng;
    const noun = r.pick(NOUNS);
    return r.chance(0.55) ? `the ${r.pick(ADJECTIVES)} ${noun}` : r.pick([`your ${noun}`, `every ${noun}`, `a new ${noun}`, `the ${noun}`]);
  }

  clause() {
    const r = this.rng;
    const forms = [
      () => `${this.phrase()} can ${r.pick(VERBS)} ${this.phrase()}`,
      () => `you ${r.pick(VERBS)} ${this.phrase()} ${r.pick(ADVERBS)}`,
      () => `we ${r.pick(ADVERBS)} ${r.pick(VERBS)} ${this.phrase()} with ${this.phrase()}`,
      () => `${this.phrase()} should ${r.pick(VERBS)} ${r.pick(ADVERBS)}`,
      () => `to ${r.pick(VERBS)} ${this.phrase()}, ${r.pick(VERBS)} ${this.phrase()}`,
      () => `${this.phrase()} and ${this.phrase()} ${r.pick(VERBS)} in ${r.int(2, 48)} ${r.pick(['hours', 'days', 'steps', 'minutes'])}`,
    ];
    return r.pick(forms)();
  }

  sentence() {
    const r = this.rng;
    let s = this.clause();
    if (r.chance(0.45)) s += `, ${r.pick(LINKS)} ${this.clause()}`;
    return `${cap(s)}${r.chance(0.06) ? '!' : '.'}`;
  }

  paragraph(lo = 3, hi = 6) {
    const out = [];
    for (let n = this.rng.int(lo, hi); n > 0; n--) out.push(this.sentence());
    return out.join(' ');
  }

  heading() {
    const r = this.rng;
    return r.pick([
      () => `How to ${r.pick(VERBS)} ${this.phrase()}`,
      () => `${cap(r.pick(VERBS))} ${this.phrase()}`,
      () => `${cap(r.pick(ADJECTIVES))} ${r.pick(NOUNS)} and ${r.pick(NOUNS)}`,
      () => `When ${this.phrase()} does not ${r.pick(VERBS)}`,
      () => `What ${this.phrase()} can ${r.pick(VERBS)}`,
    ])();
  }

  // About `chars` characters of sentences.
  text(chars) {
    let s = this.sentence();
    while (s.length < chars) s += ` ${this.sentence()}`;
    return s;
  }

  person() {
    return `${this.rng.pick(GIVEN)} ${this.rng.pick(FAMILY)}`;
  }

  date() {
    return `${this.rng.int(1, 28)} ${this.rng.pick(['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'])} ${this.rng.int(2023, 2026)}`;
  }
}
