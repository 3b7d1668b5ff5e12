"""From a comparison to what people read: HTML, Markdown, CSV, LaTeX, and figures as PDF, SVG and PNG."""
