"""What the methods of a report rest on: how each is cited in text, and as BibTeX."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One publication: its BibTeX key and kind, how text cites it, and its fields."""

    key: str
    kind: str
    short: str
    fields: Mapping[str, str]


REFERENCES = {
    reference.key: reference
    for reference in (
        Reference(
            "mytkowicz2009", "inproceedings", "Mytkowicz et al., ASPLOS 2009",
            {"author": "Mytkowicz, Todd and Diwan, Amer and Hauswirth, Matthias and Sweeney, Peter F.",
             "title": "Producing Wrong Data Without Doing Anything Obviously Wrong!",
             "booktitle": "Architectural Support for Programming Languages and Operating Systems (ASPLOS)",
             "year": "2009", "doi": "10.1145/1508244.1508275"},
        ),
        Reference(
            "eyerman2008", "article", "Eyerman & Eeckhout, IEEE Micro 28(3), 2008",
            {"author": "Eyerman, Stijn and Eeckhout, Lieven",
             "title": "System-Level Performance Metrics for Multiprogram Workloads", "journal": "IEEE Micro",
             "volume": "28", "number": "3", "year": "2008", "doi": "10.1109/MM.2008.44"},
        ),
        Reference(
            "jain1984", "techreport", "Jain, Chiu & Hawe, DEC-TR-301, 1984",
            {"author": "Jain, Raj and Chiu, Dah-Ming and Hawe, William R.",
             "title": "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in Shared "
             "Computer Systems",
             "institution": "Digital Equipment Corporation", "number": "DEC-TR-301", "year": "1984"},
        ),
        Reference(
            "holm1979", "article", "Holm, 1979",
            {"author": "Holm, Sture", "title": "A Simple Sequentially Rejective Multiple Test Procedure",
             "journal": "Scandinavian Journal of Statistics", "volume": "6", "number": "2", "pages": "65--70",
             "year": "1979"},
        ),
        Reference(
            "benjamini1995", "article", "Benjamini & Hochberg, 1995",
            {"author": "Benjamini, Yoav and Hochberg, Yosef",
             "title": "Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple "
             "Testing",
             "journal": "Journal of the Royal Statistical Society: Series B", "volume": "57", "number": "1",
             "pages": "289--300", "year": "1995", "doi": "10.1111/j.2517-6161.1995.tb02031.x"},
        ),
        Reference(
            "wilks1941", "article", "Wilks, 1941",
            {"author": "Wilks, Samuel S.", "title": "Determination of Sample Sizes for Setting Tolerance Limits",
             "journal": "The Annals of Mathematical Statistics", "volume": "12", "number": "1", "pages": "91--96",
             "year": "1941"},
        ),
        Reference(
            "stein1945", "article", "Stein, 1945",
            {"author": "Stein, Charles",
             "title": "A Two-Sample Test for a Linear Hypothesis Whose Power is Independent of the Variance",
             "journal": "The Annals of Mathematical Statistics", "volume": "16", "number": "3",
             "pages": "243--258", "year": "1945", "doi": "10.1214/aoms/1177731088"},
        ),
        Reference(
            "schuirmann1987", "article", "Schuirmann, 1987",
            {"author": "Schuirmann, Donald J.",
             "title": "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing the "
             "Equivalence of Average Bioavailability",
             "journal": "Journal of Pharmacokinetics and Biopharmaceutics", "volume": "15", "number": "6",
             "pages": "657--680", "year": "1987", "doi": "10.1007/BF01068419"},
        ),
        Reference(
            "hoefler2015", "inproceedings", "Hoefler & Belli, SC 2015",
            {"author": "Hoefler, Torsten and Belli, Roberto",
             "title": "Scientific Benchmarking of Parallel Computing Systems",
             "booktitle": "High Performance Computing, Networking, Storage and Analysis (SC)", "year": "2015",
             "doi": "10.1145/2807591.2807644"},
        ),
        Reference(
            "sigplan2018", "misc", "SIGPLAN, 2018",
            {"author": "{ACM SIGPLAN}", "title": "Empirical Evaluation Checklist", "year": "2018"},
        ),
    )
}  # fmt: skip


CITED = re.compile("\ue000(.*?)\ue001")
"""Keys between two letters of the private use area, which stand in no other text."""


def marked(*keys: str) -> str:
    """Return keys as a mark in a text, for LaTeX to cite; raises KeyError for one that is not there."""
    return f"\ue000{','.join(REFERENCES[key].key for key in keys)}\ue001"


def spelled(*keys: str) -> str:
    """Return references in brackets, as pages print them."""
    return f"({'; '.join(REFERENCES[key].short for key in keys)})"


def bibtex(references: Iterable[Reference]) -> str:
    """Return the file `references.bib`."""
    return "\n".join(_entry(reference) for reference in references)


def _entry(reference: Reference) -> str:
    values = {name: value.replace("&", "\\&") for name, value in reference.fields.items()}
    values["title"] = f"{{{values['title']}}}"
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in values.items())
    return f"@{reference.kind}{{{reference.key},\n{lines}}}\n"
