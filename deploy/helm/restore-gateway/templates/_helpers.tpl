{{/* The name of every object: the release's, unless fullnameOverride names another. */}}
{{- define "restore-gateway.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "restore-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "restore-gateway.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "restore-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{ include "restore-gateway.selector" . }}
{{- end }}

{{- define "restore-gateway.selector" -}}
app.kubernetes.io/name: restore-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "restore-gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Whether the ledger is a database that several replicas share, as far as the chart can see. A variable takes precedence over
the configuration file. A variable from a Secret is assumed to name such a database. */}}
{{- define "restore-gateway.shared" -}}
{{- $shared := regexMatch "(?m)^[^#\\n]*\\burl\\s*=\\s*[\"']postgres(ql)?://" .Values.config }}
{{- range .Values.extraEnv }}
{{- if eq .name "RESTORE_GATEWAY_LEDGER__URL" }}
{{- $shared = or (hasKey . "valueFrom") (regexMatch "^postgres(ql)?://" (.value | default "")) }}
{{- end }}
{{- end }}
{{- if $shared }}yes{{ end -}}
{{- end }}

{{/* Whether there is exactly one replica, because the ledger is a file or in memory. */}}
{{- define "restore-gateway.single" -}}
{{- if or .Values.persistence.enabled (eq .Values.mode "sidecar") (not (include "restore-gateway.shared" .)) }}yes{{ end -}}
{{- end }}
