"""What is allowed: one module a hard rule, each refusal a Reason. Pure."""
