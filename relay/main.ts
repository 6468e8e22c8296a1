#!/usr/bin/env node
// patchferry-relay: a distribution point. Mirrors a signed repository, serves it, takes results in and brings them on.
import { main } from '#manifests/platform/cli';
import { program } from './cli/index.ts';

void main(program);
