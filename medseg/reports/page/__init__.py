"""The report page: one HTML file with scores, plots and a viewer, that needs no server and asks for nothing."""

from medseg.reports.page.write import ReportStudy, write_report

__all__ = ["ReportStudy", "write_report"]
