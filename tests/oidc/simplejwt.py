"""A Django site whose users get tokens from SimpleJWT's own views, on a loopback port that the kernel chooses.

The first line on standard input is JSON: `users`, whose password is their name, and `simple_jwt`, the settings
of that name. The first line on standard output is JSON: `address`, and `ids`, the primary keys of the users.
The process ends with its standard input, so that none outlives its test.
"""

import json
import os
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

orders = json.loads(sys.stdin.readline())
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
    # Logins are no part of what is tested; the default takes a quarter of a second for each.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(32).hex(),
    SIMPLE_JWT=orders["simple_jwt"],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework_simplejwt import views  # noqa: E402

urlpatterns = [
    path("token/", views.TokenObtainPairView.as_view()),
    path("token/refresh/", views.TokenRefreshView.as_view()),
    path("token/sliding/", views.TokenObtainSlidingView.as_view()),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def end_with_standard_input():
    sys.stdin.read()
    os._exit(0)


call_command("migrate", verbosity=0)
ids = {name: User.objects.create_user(name, password=name).pk for name in orders["users"]}
with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet) as server:
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    print(json.dumps({"address": f"127.0.0.1:{server.server_port}", "ids": ids}), flush=True)
    server.serve_forever()
