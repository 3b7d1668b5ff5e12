"""From a comparison to what people read: one HTML page, Markdown, CSV tables, figures as PDF and PNG."""
