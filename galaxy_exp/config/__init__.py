"""The sweep file: reading it, checking it, and the frozen record it becomes."""
