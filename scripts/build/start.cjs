// What a standalone binary runs first: the program it carries, with V8's cache of its functions. As a script of its own it makes
// that cache: `node start.cjs PROGRAM CACHE WORDS …` runs the program with these words and writes the cache as it ends.
'use strict';
const vm = require('node:vm');
const { dirname } = require('node:path');
const sea = require('node:sea');

function load(source, cachedData) {
  return new vm.Script(source, {
    filename: process.execPath,
    cachedData,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
}

function start(script, program) {
  const own = { exports: {} };
  script.runInThisContext()(own.exports, require, own, program, dirname(program));
}

if (sea.isSea()) {
  const text = (name) => Buffer.from(sea.getRawAsset(name));
  // A cache that this V8 does not take is passed over: the program starts all the same, a little later.
  start(load(text('program').latin1Slice(), text('cache')), process.execPath);
} else {
  const fs = require('node:fs');
  const [, , program, cache, ...words] = process.argv;
  const script = load(fs.readFileSync(program, 'latin1'));
  process.argv.splice(1, Number.POSITIVE_INFINITY, program, ...words);
  process.on('exit', () => fs.writeFileSync(cache, script.createCachedData()));
  start(script, program);
}
