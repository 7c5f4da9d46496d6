// Starts headless Chromium so that only the demo server can be reached.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { SITES } from './server.mjs';

export async function launch(port) {
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    throw new Error(`Chromium not found at ${executablePath}: install it, or set CHROMIUM to its path.`);
  }
  const rules = [...SITES.map((s) => `MAP ${s}:80 127.0.0.1:${port}`), 'MAP * ~NOTFOUND', 'EXCLUDE 127.0.0.1'];
  const options = {
    executablePath,
    headless: true,
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
    timeout: 60_000,
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable',
      '--disable-dev-shm-usage', `--host-resolver-rules=${rules.join(', ')}`,
    ],
  };
  try {
    return await chromium.launch(options);
  } catch (error) {
    throw new Error(`Chromium at ${executablePath} does not start: ${error.message.split('\n')[0]}`);
  }
}
