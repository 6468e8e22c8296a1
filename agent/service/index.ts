// The agent as a whole: opened from settings, one cycle, the service that repeats it, and its unit.
export { type Agent, fault, inventoryOf, openAgent, openAgentTrust } from './agent.ts';
export { lastCycle, runCycle } from './cycle.ts';
export { rollbackLast } from './rollback.ts';
export { type AgentSettings, loadSettings, placesOf } from './settings.ts';
export { installUnit, ownCommand, removeUnit, unitState } from './systemd.ts';
export { keepRunning } from './ticker.ts';
export { UNIT_NAME, unitText } from './unit.ts';
export { decideInput, makeWorld } from './world.ts';
