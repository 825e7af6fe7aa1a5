{{- define "juspay-bff.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "juspay-bff.labels" -}}
app.kubernetes.io/name: juspay-bff
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels of all pods. */}}
{{- define "juspay-bff.pods" -}}
app.kubernetes.io/name: juspay-bff
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of the pods that serve requests. */}}
{{- define "juspay-bff.server" -}}
{{ include "juspay-bff.pods" . }}
app.kubernetes.io/component: server
{{- end }}

{{/*
Settings as environment variables, one per line: JUSPAY_BFF__SECTION__KEY: "value", lists comma-separated.
Arguments: the name's prefix and the value.
*/}}
{{- define "juspay-bff.settings" -}}
{{- range $key, $value := .value }}
{{- $name := printf "%s__%s" $.name (upper $key) }}
{{- if kindIs "map" $value }}
{{- include "juspay-bff.settings" (dict "name" $name "value" $value) }}
{{- else if kindIs "slice" $value }}
{{ $name }}: {{ join "," $value | quote }}
{{- else if kindIs "string" $value }}
{{ $name }}: {{ $value | quote }}
{{- else }}
{{ $name }}: {{ toJson $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The hosts that the service calls, as a JSON list: Juspay, the issuers, and networkPolicy.extraHosts. */}}
{{- define "juspay-bff.hosts" -}}
{{- $addresses := list .Values.settings.juspay.base_url }}
{{- range .Values.settings.auth.issuers }}
{{- $addresses = concat $addresses (list .issuer .jwks_url .introspection_url) }}
{{- if kindIs "string" .discovery }}
{{- $addresses = append $addresses .discovery }}
{{- end }}
{{- end }}
{{- $hosts := list }}
{{- range compact $addresses }}
{{- $hosts = append $hosts (urlParse .).hostname }}
{{- end }}
{{- concat $hosts .Values.networkPolicy.extraHosts | uniq | toJson }}
{{- end }}

{{/* The peers of a NetworkPolicy rule, as a list. Arguments: peers, and the namespace to use without them. */}}
{{- define "juspay-bff.peers" -}}
{{- $namespace := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .namespace)) }}
{{- .peers | default (list $namespace) | toYaml }}
{{- end }}

{{/* A peer's selectors as Cilium labels, as a JSON object. */}}
{{- define "juspay-bff.ciliumLabels" -}}
{{- $labels := dict }}
{{- range $key, $value := dig "namespaceSelector" "matchLabels" dict . }}
{{- if eq $key "kubernetes.io/metadata.name" }}
{{- $_ := set $labels "k8s:io.kubernetes.pod.namespace" $value }}
{{- else }}
{{- $_ := set $labels (printf "k8s:io.cilium.k8s.namespace.labels.%s" $key) $value }}
{{- end }}
{{- end }}
{{- range $key, $value := dig "podSelector" "matchLabels" dict . }}
{{- $_ := set $labels (printf "k8s:%s" $key) $value }}
{{- end }}
{{- toJson $labels }}
{{- end }}

{{/* Labels as a Calico selector. */}}
{{- define "juspay-bff.calicoSelector" -}}
{{- $all := list }}
{{- range $key, $value := . }}
{{- $all = append $all (printf "%s == '%s'" $key $value) }}
{{- end }}
{{- join " && " $all }}
{{- end }}

{{/* The container of the server and of the test. Arguments: the root context and the program's arguments. */}}
{{- define "juspay-bff.container" -}}
name: juspay-bff
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ toJson .arguments }}
envFrom:
  - configMapRef: {name: {{ include "juspay-bff.name" .root }}-site}
resources: {{- toYaml .root.Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: juspay-bff-settings, mountPath: /etc/juspay-bff, readOnly: true}
  # The whole Secret: a subPath mount is not updated when the Secret changes.
  - {name: juspay-bff-secrets, mountPath: /run/secrets/juspay-bff, readOnly: true}
{{- end }}

{{/* The pod spec of the server and of the test. */}}
{{- define "juspay-bff.pod" -}}
serviceAccountName: {{ include "juspay-bff.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
# Resolve names as written, without trying the cluster's search domains first.
dnsConfig:
  options: [{name: ndots, value: "1"}]
securityContext:
  runAsNonRoot: true
  {{- range $key, $id := .Values.podSecurityContext }}
  {{- if $id }}
  {{ $key }}: {{ int64 $id }}
  {{- end }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: juspay-bff-settings
    configMap: {name: {{ include "juspay-bff.name" . }}-settings}
  - name: juspay-bff-secrets
    secret: {secretName: {{ .Values.secretName }}, defaultMode: 0440}
{{- end }}
