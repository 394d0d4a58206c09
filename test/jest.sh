#!/bin/sh
# Jest as every suite runs it, from the root of the repository. A script, so that variables before it are its own.
mkdir -p out/tests
NODE_OPTIONS=--experimental-vm-modules NODE_NO_WARNINGS=1 exec node_modules/node/bin/node node_modules/jest/bin/jest.js "$@"
