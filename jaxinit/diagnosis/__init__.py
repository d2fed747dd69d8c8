"""Why a network does not train: its vital signs in one run, and what they are symptoms of."""

from jaxinit.diagnosis.examination import diagnose as diagnose
from jaxinit.diagnosis.report import Finding as Finding
from jaxinit.diagnosis.report import Layer as Layer
from jaxinit.diagnosis.report import Report as Report
from jaxinit.diagnosis.report import Symptom as Symptom
