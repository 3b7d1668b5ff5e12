"""Notebooks as lists of code cells: a user's own, or the one that comes with this project."""

from __future__ import annotations

import json
from pathlib import Path

# Cells find `torch`, `device` (a torch device) and `size`. Each ends on the host, as what a person looks at does.
DEFAULT_CELLS = (
    """torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.ReLU(), torch.nn.Linear(size, 10)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
inputs = torch.randn(1024, size, device=device)
labels = torch.randint(10, (1024,), device=device)
sum(parameter.numel() for parameter in model.parameters())""",
    """losses = []
for _ in range(20):
    optimizer.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.detach())
torch.stack(losses).tolist()""",
    """with torch.inference_mode():
    correct = (model(inputs).argmax(-1) == labels).float().mean().item()
correct""",
    """with torch.inference_mode():
    histogram = torch.histc(model(inputs).float(), bins=50).tolist()
histogram""",
)


def read_cells(path: Path) -> list[str]:
    """Return the code cells of an .ipynb file (nbformat 4); raises OSError or ValueError where it is not one."""
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells")
    if not isinstance(cells, list):
        raise ValueError(f"{path}: not a notebook of nbformat 4: it has no list of cells")
    sources = [cell.get("source", "") for cell in cells if cell.get("cell_type") == "code"]
    code = [source if isinstance(source, str) else "".join(source) for source in sources]
    if not any(text.strip() for text in code):
        raise ValueError(f"{path}: the notebook has no code cells")
    return [text for text in code if text.strip()]
