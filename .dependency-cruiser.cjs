// The arrows of docs/architecture.md: parts talk over the wire, never by importing each other's insides.
const only = (part, allowed) => ({
  name: `${part}-knows-only-${allowed.join('-') || 'itself'}`,
  severity: 'error',
  from: { path: `^${part}/`, pathNot: '\\.test\\.ts$' },
  to: { path: '^(smb|fileserver|sidecar|operator|client|serve|proto|crds|common|bench|test)/', pathNot: `^(${[part, ...allowed].join('|')})/` },
});
module.exports = {
  forbidden: [
    only('smb', []),
    only('common', []),
    only('fileserver', ['smb', 'proto', 'common']),
    only('sidecar', ['proto', 'common']),
    only('operator', ['proto', 'crds', 'common']),
    only('client', ['smb', 'crds', 'common']),
    only('serve', ['common']),
    only('proto', []),
    only('crds', []),
    { name: 'no-cycles', severity: 'error', from: { pathNot: '/generated/' }, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    { name: 'no-test-code-in-the-product', severity: 'error', from: { path: '^(smb|fileserver|sidecar|operator|client|serve|common)/', pathNot: '\\.test\\.ts$|/testing/' }, to: { path: '\\.test\\.ts$|^test/|^bench/|/testing/' } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|build|node_modules)/' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs', '.cjs'] },
    parser: 'swc',
  },
};
