"""Who calls, what they may do, and the audit trail."""
