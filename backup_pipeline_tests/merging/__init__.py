import pytest

pytest.register_assert_rewrite("backup_pipeline_tests.merging.scenario")
