// What the settings offer for this station.

/** `signed`: agents of the roster; `plain`: other FleetLock clients too; `off`: none. */
export const LEASE_CHOICES = ['signed', 'plain', 'off'] as const;
export type LeaseChoice = (typeof LEASE_CHOICES)[number];
