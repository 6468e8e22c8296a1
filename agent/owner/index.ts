// What the owner of a host may say within policy: which window, how much later, and asking for a waiver.
export { choiceOf } from './memory.ts';
