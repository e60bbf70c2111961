"""Which job may start when: intake into the line, the plan, the guard, and why a job waits."""
