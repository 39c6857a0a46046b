"""References in every form that GSM8K and MATH have them, made up: (solution as the data set writes it, answer)."""

GSM8K = [
    ("She sells 16 - 3 = 13 eggs.\nShe makes 13 * 2 = $26.\n#### 26", "26"),
    ("12 * 100,000 = 1,200,000\n#### 1,200,000", "1,200,000"),
    ("He is 40 below zero.\n#### -40", "-40"),
    ("5 - 5 = 0\n#### 0", "0"),
    ("7 / 2 = 3.5 hours\n#### 3.5", "3.5"),
    ("Half of 1 is .5\n#### .5", ".5"),
]

MATH = [(f"We find $x$ first; then $3\\cdot 5=15$, and the answer is $\\boxed{{{answer}}}$.", answer) for answer in (
    "9", "-11", "0", "10,080", r"11,\! 111,\! 111,\! 100", r"\$32,\!348", "0.35625", ".0000672", r"50\%", r"18.90",
    r"\frac{14}{3}", r"-\frac{35}{9}", r"\frac 59", r"\dfrac{17}{50}", r"1\frac{4}{5}", r"137 \frac{1}{2}",
    r"\sqrt{51}", r"3\sqrt{13}", r"11\sqrt2", r"\frac{3\sqrt{3}}{4}", r"\frac{\sqrt{21}}{5}", r"288 \pi",
    r"\frac{20000}{\pi}", "6 - 5i", "1+274i", "p - q", "2k+2", "x^3+3x-6", r"\frac{11+9a}{20}", r"\cot x",
    "x=5", "y = 2x + 3", "5x - 7y + 11z + 4 = 0", "1,-2", "3, 5, 7", r"3 \pm 2 \sqrt{2}", r"\{1\pm\sqrt{5},-2\}",
    "(6,31,-1)", r"\left( 3, \frac{\pi}{2} \right)", "(3,4]", r"(-\infty, 0]", r"(-\infty, 2) \cup (3, \infty)",
    r"x \in [-2,7]", r"\left[ \frac{\pi^2}{8}, \frac{5 \pi^2}{4} \right]", "52_8", "4210_{5}", r"90^\circ",
    r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}", r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}",
    r"\text{Evelyn}", r"\text{(C)}", r"\text{even}", r"5.4 \text{ cents}", r"15\mbox{ cm}^2",
)]
