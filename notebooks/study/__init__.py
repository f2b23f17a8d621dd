"""What only this book needs: its suites of runs, tables, verdicts and figures."""
