from medseg.config.problems import Origin, Problem, dotted


def test_a_problem_reads_as_file_line_key_and_message():
    assert str(Problem("training.epochs", "is odd", Origin("a.yaml", 12))) == "a.yaml:12: training.epochs: is odd"
    assert str(Problem("", "not YAML", Origin("a.yaml", 12, 3))) == "a.yaml:12:3: not YAML"
    assert str(Problem("data", "is odd")) == "data: is odd"


def test_list_positions_are_part_of_a_dotted_key():
    assert dotted(("training", "loss", 0)) == "training.loss.0"
