"""The tables of the study in README.md and docs/study.md, English and Chinese; each lies between two comments."""

import re
from pathlib import Path
from typing import Any

from ppcls_lite.ablation.statistics import summarize
from ppcls_lite.ablation.study import Finding, compare, markdown_table
from ppcls_lite.ablation.study_comparisons import ARTICLE, INTERACTION, LENGTH, POOLING, PRIMARY, SECONDARY
from ppcls_lite.ablation.study_runs import Part, read_parts
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import write_text

BEGIN, END = "<!-- tools/study.py writes this table -->", "<!-- end of the table -->"
# Part and comparison as in plan.md, and the cause that it measures, in English and Chinese.
CAUSES = {
    ("A", PRIMARY.name): ("octave convolution", "八度卷积"),
    ("A", "Oct .5 strided - ResNet-20"): ("octave convolution, both networks strided", "八度卷积，两个网络都用步长"),
    ("A", POOLING[20].name): ("pooling instead of strides", "用池化代替步长"),
    ("A", INTERACTION.name): ("interaction of pooling and octave convolution", "池化与八度卷积的交互作用"),
    ("A", "Oct .25 - pooled"): ("octave convolution, alpha 0.25", "八度卷积，alpha 取 0.25"),
    ("A", "Oct .5 without exchange - Oct .5"): ("no exchange between the branches", "去掉分支之间的信息交换"),
    ("A", "Oct .5 - narrow pooled"): ("octave convolution at equal cost", "八度卷积，乘加次数相同"),
    ("B", "Oct .5 - pooled, Paddle's"): ("octave convolution, the article's recipe", "八度卷积，博客文章的配方"),
    ("B", "pooled - ResNet-20, Paddle's initialisation"): ("pooling, the article's recipe", "池化，博客文章的配方"),
    ("B", "Oct .5 with biases - Oct .5"): ("biases before batch norm", "BN 之前的偏置"),
    ("B", "Oct .5: Kaiming's - Paddle's"): ("initialisation, octave network", "初始化，八度网络"),
    ("B", "pooled: Kaiming's - Paddle's"): ("initialisation, plain network", "初始化，普通网络"),
    ("B", "Oct .5 - pooled, Kaiming's"): ("octave convolution, Kaiming's initialisation", "八度卷积，Kaiming 初始化"),
    ("B", ARTICLE.name): ("the article's own comparison", "博客文章自己的对比"),
    ("D", "Oct .5 - pooled"): ("octave convolution, depthwise network", "八度卷积，深度可分离网络"),
    ("D", "pooled - strided"): ("pooling, depthwise network", "池化，深度可分离网络"),
    ("D", "Oct .5 - narrow pooled"): (
        "octave convolution at equal cost, depthwise",
        "八度卷积，乘加次数相同，深度可分离",
    ),
    ("C", LENGTH[5].name): ("octave convolution, 5 epochs", "八度卷积，5 个 epoch"),
    ("C", LENGTH[60].name): ("octave convolution, 60 epochs", "八度卷积，60 个 epoch"),
    ("C", "Oct .5 - pooled, subset 1"): ("octave convolution, other images", "八度卷积，换一批图片"),
    ("C", "Oct .5 - pooled, subset 2"): ("octave convolution, yet other images", "八度卷积，再换一批图片"),
    ("G", "Oct .5 - pooled at 64 px"): ("octave convolution, inputs of 64 px", "八度卷积，输入 64 px"),
}
# Part and arm, its name in English and Chinese, and its comparison with another of these arms.
RESULTS = {
    ("A", "resnet20"): (("ResNet-20", "ResNet-20"), None),
    ("A", "resnet20_pooled"): (("ResNet-20, pooled", "ResNet-20，池化版"), POOLING[20].name),
    ("A", "octresnet20"): (("Oct-ResNet-20, alpha 0.5", "Oct-ResNet-20，alpha 0.5"), PRIMARY.name),
    ("A", "octresnet20_alpha0.25"): (("Oct-ResNet-20, alpha 0.25", "Oct-ResNet-20，alpha 0.25"), "Oct .25 - pooled"),
    ("A", "resnet20_pooled_narrow"): (
        ("ResNet-20 x0.81, pooled", "ResNet-20 x0.81，池化版"),
        "Oct .5 - narrow pooled",
    ),
    ("D", "mobilenetv1"): (("MobileNetV1 x0.25", "MobileNetV1 x0.25"), None),
    ("D", "mobilenetv1_pooled"): (("MobileNetV1 x0.25, pooled", "MobileNetV1 x0.25，池化版"), "pooled - strided"),
    ("D", "octmobilenetv1"): (
        ("Oct-MobileNetV1 x0.25, alpha 0.5", "Oct-MobileNetV1 x0.25，alpha 0.5"),
        "Oct .5 - pooled",
    ),
    ("D", "mobilenetv1_pooled_narrow"): (
        ("MobileNetV1 x0.19, pooled", "MobileNetV1 x0.19，池化版"),
        "Oct .5 - narrow pooled",
    ),
}
LANGUAGES: tuple[dict[str, Any], ...] = (
    {
        "suffix": "",
        "causes": ("cause", "part: comparison", "effect, points", "95 % interval", "seeds", "p", "verdict"),
        "results": ("network", "multiply-adds", "top-1 %", "compared with", "difference, points [95 % interval]"),
        "verdicts": {v: v for v in ("resolved", "resolved, small", "unresolved", "no interval", "not run")},
        "incomplete": "incomplete",
        "needed": "; {} seeds needed",
    },
    {
        "suffix": "_ch",
        "causes": ("因素", "实验组：对比", "影响（百分点）", "95 % 区间", "种子数", "p", "判定"),
        "results": ("网络", "乘加次数", "top-1 %", "比较对象", "差异（百分点）[95 % 区间]"),
        "verdicts": {
            "resolved": "显著",
            "resolved, small": "显著，但很小",
            "unresolved": "不显著",
            "no interval": "没有区间",
            "not run": "未跑",
        },
        "incomplete": "未跑完",
        "needed": "，需 {} 个种子",
    },
)


def write_pages(root: Path) -> None:
    """Replace the study's tables in README.md, docs/study.md and their Chinese versions, in the project's ``root``.

    Raises:
        UserError: see :func:`render_pages` and :func:`read_parts`.
    """
    for path, text in render_pages(root, read_parts(root / "docs" / "study")).items():
        write_text(path, text)


def render_pages(root: Path, parts: dict[str, Part]) -> dict[Path, str]:
    """The texts of the four pages with the tables of these runs.

    Raises:
        UserError: a page does not have one pair of the comments that enclose its table.
    """
    findings = compare([PRIMARY], parts) + compare(SECONDARY, parts)
    by_name = {(found.comparison.family, found.comparison.name): found for found in findings}
    pages = {}
    for language, words in enumerate(LANGUAGES):
        for name, table in (
            ("README", _results(parts, by_name, language)),
            ("docs/study", _causes(by_name, language)),
        ):
            page = root / f"{name}{words['suffix']}.md"
            text, found = re.subn(
                f"{BEGIN}.*?{END}",
                lambda _, table=table: f"{BEGIN}\n\n{table}\n\n{END}",
                page.read_text(encoding="utf-8"),
                flags=re.DOTALL,
            )
            if found != 1:
                raise UserError(f"{page} has {found} tables of the study; expected one, between {BEGIN} and {END}")
            pages[page] = text
    return pages


def _causes(findings: dict[tuple[str, str], Finding], language: int) -> str:
    words = LANGUAGES[language]
    rows = []
    for (family, name), cause in CAUSES.items():
        found = findings[family, name]
        row = found.row()
        verdict = words["verdicts"].get(found.verdict, words["incomplete"])
        if found.verdict == "unresolved":
            verdict += words["needed"].format(row["seeds for the estimate"])
        figures = row["effect, points"], row["95 % interval"], row["seeds"], found.p_text
        values = cause[language], f"{family}: {name}", *figures, verdict
        rows.append(dict(zip(words["causes"], values, strict=True)))
    return markdown_table(rows, "llrrrrl")


def _results(parts: dict[str, Part], findings: dict[tuple[str, str], Finding], language: int) -> str:
    """Arms that have all their seeds."""
    words = LANGUAGES[language]
    rows = []
    for (part, arm), (label, name) in RESULTS.items():
        runs = parts[part].runs[arm]
        if len(runs) < parts[part].protocol.seeds:
            continue
        top1 = summarize(parts[part].top1(arm))
        difference = ["", ""]
        found = findings.get((part, name))
        if found and found.complete and found.p is not None:
            sign, other = _seen_from(arm, found)
            low, high = sorted((sign * found.difference.low, sign * found.difference.high))
            verdict = f" {words['verdicts']['unresolved']}" if found.verdict == "unresolved" else ""
            text = f"{sign * found.difference.mean:+.2f} [{low:+.2f}, {high:+.2f}]{verdict}"
            difference = [RESULTS[part, other][0][language], text]
        cost = f"{next(iter(runs.values())).macs / 1e6:#.3g} M"
        values = label[language], cost, f"{top1.mean:.2f} ± {top1.sd:.2f}", *difference
        rows.append(dict(zip(words["results"], values, strict=True)))
    return markdown_table(rows, "lrrlr")


def _seen_from(arm: str, found: Finding) -> tuple[int, str]:
    """The sign that makes the comparison ``arm`` minus the other arm, and that other arm."""
    (sign,) = (sign for sign, name in found.comparison.terms if name == arm)
    (other,) = (name for _, name in found.comparison.terms if name != arm)
    return sign, other
