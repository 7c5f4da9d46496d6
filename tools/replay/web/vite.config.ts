// Builds the page: one HTML file without inline script, everything else hashed under assets/.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { licenceGate } from './build/licence-gate.mjs';

export default defineConfig({
  plugins: [svelte(), licenceGate()],
  build: {
    target: 'es2022',
    // The policy of the service allows no image or font from a data: address in scripts' reach that we did not put there; keep files as files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 600,
  },
  server: { proxy: { '/v1': target(), '/auth': target() } },
  test: { include: ['unit/**/*.test.ts'] },
});

function target() {
  return { target: process.env.REELVAULT_URL ?? 'https://127.0.0.1:8443', secure: false };
}
