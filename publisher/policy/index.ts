// Policy: authored YAML in, with every problem named by its place; resolved baselines and groups out.

export * from './facts.ts';
export * from './host-input.ts';
export * from './read.ts';
export * from './resolve.ts';
