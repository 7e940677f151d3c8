"""Every type that crosses a boundary: the command line, HTTP, the job store, a sidecar. A module for each noun.

Plain frozen dataclasses are the one definition. Bounds stand in the annotations (`annotated_types`), so that the HTTP
schema, the checks of `tensors.checks` and the documentation all read the same line. Requests are strict: what they do
not know is refused. Answers are tolerant: a newer server may say more.
"""
