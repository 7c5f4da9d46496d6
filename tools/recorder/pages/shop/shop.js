// Chooses what to draw by the page's name.
import { $ } from '/common/dom.js';
import { catalogue, home, productPage } from './browse.js';
import { account, cartPage, checkout, done, payment } from './buy.js';
import { footer, header } from './frame.js';

const PAGES = { index: home, catalogue, product: productPage, cart: cartPage, account, checkout, payment, done };

header();
PAGES[document.body.dataset.page]($('#main'));
footer();
