"""The board: pages for the people who buy. They show what the API returns, and change nothing."""
