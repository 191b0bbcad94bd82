"""Jobs: work that outlasts its request. It is answered with 202 and a Job, and goes on in the background.

A kind of job is an object with these members (see kind.py), registered once before the jobs start:

    class Rebuild:
        name = "rebuild"            # Job.kind
        lane = "keeping"            # "describing" for what describes photos, "keeping" for everything else

        def check_input(self, task: Task) -> None:
            ...                     # raise AskewError when what it needs on disk is gone; called before each run

        def run(self, task: Task, report: Report, cancelled: Cancelled) -> dict[str, JsonValue]:
            ...                     # the work; what it returns is the job's result

    jobs.register(Rebuild(galleries))                                   # in Service.__init__
    job = jobs.submit("rebuild", gallery="museum", parameters={})       # a Job; Refusal (overloaded) when full

`task.parameters` is the JSON object given to `submit`; `task.folder` (DATA/jobs/ID) is the job's own, removed when it
has ended: what a job needs is put there before it is submitted (`with jobs.spool() as folder: …`), what it must not
lose is written there. `report(done, total)` is cheap and may be called for every unit of work. `cancelled()` is true
when somebody cancelled the job or the server stops: `run` should then raise JobStopped within a second or so. A job that
was waiting or running when the server ended is run again, from its parameters and its folder, when the server starts:
so `run` must be right when it is called a second time. What `run` raises as AskewError becomes the job's problem.

Each lane has one worker thread, so that a snapshot does not wait for a day of describing. What is heavy belongs into
a child process at low priority (see describing.py).
"""
