"""`hydra/launcher=vectorized`: jobs of which a head alone trains are trained together, all others one after another."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, setup_globals


class VectorizedLauncher(BasicLauncher):
    """Runs a batch of a sweep's jobs in this process.

    What can be trained together is, before the first job; its jobs then find their runs done and say so. What cannot
    is trained by its job, as by Hydra's own launcher, after a line that says why.
    """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of jobs, numbered on from the first."""
        from transferlab import jobs
        from transferlab.launching.configs import alone, composed

        assert self.hydra_context is not None and self.config is not None
        setup_globals()
        configs = list(composed(self.hydra_context, self.config, job_overrides, initial_job_idx))
        known = HydraConfig.instance().cfg
        configure_log(configs[0].hydra.job_logging, configs[0].hydra.verbose)
        try:
            jobs.ahead(alone(configs))
        finally:
            # nothing else of Hydra's is touched: restoring all of its state would load its plug-ins anew, whose objects
            # could then not be sent to other processes
            HydraConfig.instance().cfg = known
        return super().launch(job_overrides, initial_job_idx)
