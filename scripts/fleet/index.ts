// A whole fleet of real parts for demo, tests and benchmarks: publisher, relay, and agents on test hosts.
export { command, PROJECT, until } from './components.ts';
export { HostAgent } from './host-agent.ts';
export { FleetPublisher, type PolicyChoices } from './publisher.ts';
export { FleetRelay } from './relay.ts';
