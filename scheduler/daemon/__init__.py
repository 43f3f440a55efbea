"""The loop that joins the rooms: observe, decide, act, record; start and stop, reload, readiness and watchdog."""
