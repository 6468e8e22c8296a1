// The agent as a whole: opened from settings, one cycle, the service that repeats it, and its unit.
export { type Agent, fault, inventoryOf, type OpenOptions, openAgent, openAgentTrust, runHealthCheck } from './agent.ts';
export { type CycleOptions, type CycleReport, LAST_CYCLE, runCycle } from './cycle.ts';
export { rebootEvidence } from './reboot.ts';
export { rollbackLast } from './rollback.ts';
export { type AgentSettings, DEFAULT_CONFIG, loadSettings, placesOf } from './settings.ts';
export { installUnit, ownCommand, removeUnit, unitState } from './systemd.ts';
export { keepRunning } from './ticker.ts';
export { UNIT_NAME, UNIT_PATH, unitText } from './unit.ts';
export { decideInput, makeWorld } from './world.ts';
