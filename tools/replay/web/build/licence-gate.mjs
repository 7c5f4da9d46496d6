// Fails the build when a module of a package that the list of licences does not name gets into the bundle.
import { shipped } from './packages.mjs';

const PACKAGE = /node_modules\/((?:@[^/]+\/)?[^/]+)\//g;

export function licenceGate() {
  return {
    name: 'licence-gate',
    apply: 'build',
    generateBundle(_options, bundle) {
      const known = new Set(shipped().map((p) => p.name));
      for (const chunk of Object.values(bundle)) {
        for (const id of Object.keys(chunk.modules ?? {})) {
          const name = [...id.matchAll(PACKAGE)].pop()?.[1];
          if (name && !known.has(name)) this.error(`${name} is in the bundle, but not in the list of licences (build/packages.mjs)`);
        }
      }
    },
  };
}
