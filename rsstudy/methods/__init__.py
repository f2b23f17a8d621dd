"""Methods: what is trained. One short file a method, named after it, read like its equation."""

from rsstudy.methods.attaching import attach as attach
from rsstudy.methods.attaching import attached as attached
from rsstudy.methods.attaching import batches_counted as batches_counted
from rsstudy.methods.attaching import detach as detach
from rsstudy.methods.attaching import merge as merge
from rsstudy.methods.attaching import whole as whole
from rsstudy.methods.parameters import TrainedParameters as TrainedParameters
from rsstudy.methods.parameters import count_trained as count_trained
from rsstudy.methods.parameters import load_trained as load_trained
from rsstudy.methods.parameters import trained as trained
from rsstudy.methods.registry import PRESETS as PRESETS
from rsstudy.methods.registry import Method as Method
from rsstudy.methods.registry import base_name as base_name
from rsstudy.methods.registry import create_method as create_method
from rsstudy.methods.registry import name_of as name_of
from rsstudy.registry import METHODS as METHODS

METHODS.load()  # presets have names, too
