// Tests are TypeScript and ES modules; swc strips the types, tsc checks them (`make lint`).
export default {
  testEnvironment: 'node',
  // Machines that run these tests are shared and slow at times; what must be fast has a limit of its own.
  testTimeout: 30_000,
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    ],
  },
  testPathIgnorePatterns: ['/node_modules/', '/dist/', '/build/'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/build/'],
};
